"""The exit codes of the command line; 0 is success."""

FAILED = 1
"""A sweep with points that failed, `theory` where every one failed."""
BAD_INPUT = 2
"""What was asked cannot be done; one line on stderr says why."""
NOT_CONVERGED = 3
"""A run that has not converged, or a sweep with one that has not."""
INTERRUPTED = 130
"""Ctrl-C."""
UNREAD = 141
"""Output whose reader has gone, as the shell has it of programs that SIGPIPE ends."""
