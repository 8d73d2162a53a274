"""Search spaces of networks that train in seconds."""

TINY = """
mnv2search: 1
name: tiny
resolution: [24, 32]
width: [0.5, 1.0]
stem: {c: 16, k: 3, s: 1}
blocks:
  - {c: 16, n: [1, 2], s: 2, each: {t: [1, 2], k: [3, 5]}}
  - {c: 32, n: [1, 2], s: 2, t: [2, 4]}
last: 64
head: {classes: 1000, dropout: 0.0}
"""
