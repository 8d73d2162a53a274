"""What times networks where they run: a program of its own that is also sent to other machines.

Nothing here imports anything of ours from outside this package, and everything runs on Python 3.8 with numpy and the
runtime alone, because that is all that a board or a phone may have.
"""
