def report(*a): return []
