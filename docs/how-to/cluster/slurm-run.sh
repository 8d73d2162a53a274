#!/usr/bin/env bash
# A run whose networks are evaluated by slurm-workers.sh: sbatch slurm-run.sh --name NAME [OPTIONS OF mnv2search run]
# The file ~/.mnv2search-storage holds the URL of the storage; only you should be able to read it (chmod 600).
#SBATCH --job-name=mnv2search-run
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=1-00:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=run-%j.log
set -euo pipefail

MNV2SEARCH_STORAGE=$(<"$HOME/.mnv2search-storage")
export MNV2SEARCH_STORAGE
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# The same command resumes the run after the job is queued again.
exec mnv2search run "$@" --workers 0
