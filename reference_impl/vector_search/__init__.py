"""Vector search: an index of vectors that is searched exactly, by comparing every one."""
