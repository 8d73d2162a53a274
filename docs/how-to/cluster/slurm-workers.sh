#!/usr/bin/env bash
# Workers of a run as a Slurm array: sbatch slurm-workers.sh NAME [OPTIONS OF mnv2search worker]
# The file ~/.mnv2search-storage holds the URL of the storage; only you should be able to read it (chmod 600).
#SBATCH --job-name=mnv2search-workers
#SBATCH --array=1-32
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --output=worker-%A-%a.log
set -euo pipefail

if [[ $# -lt 1 ]]; then
  echo "usage: sbatch slurm-workers.sh NAME [OPTIONS OF mnv2search worker]" >&2
  exit 2
fi
MNV2SEARCH_STORAGE=$(<"$HOME/.mnv2search-storage")
export MNV2SEARCH_STORAGE
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# exec lets the signal of the time limit reach the worker, which then returns its network to the run.
exec mnv2search worker "$@" --trust --wait 1h
