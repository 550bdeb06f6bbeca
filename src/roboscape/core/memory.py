"""Keep memory that was freed: every step of a training or rollout asks for the same sizes again.

By default glibc hands large blocks back to the system as they are freed, and the next tensor of the
same size is zeroed by the kernel page by page. On CPUs that took a seventh of the time of a rollout
(`docs/decisions.md`).
"""

import ctypes
import logging
import platform

log = logging.getLogger(__name__)

# Options of glibc's mallopt(3), and the values that keep most.
_TRIM_THRESHOLD, _NEVER = -1, -1
_MMAP_THRESHOLD, _LARGEST = -3, 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask the C library not to return freed blocks; whether it is one that can be asked."""
    if platform.libc_ver()[0] != "glibc":
        log.debug("freed memory goes back to the system: this is not glibc")
        return False
    libc = ctypes.CDLL(None)
    trim = libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    mmap = libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
    return bool(trim and mmap)
