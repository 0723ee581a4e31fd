def keep_stacks(most: int) -> None:
    """Have the memory of up to `most` greenlets that have ended kept; from 1 to 1024, 16 KB each."""
