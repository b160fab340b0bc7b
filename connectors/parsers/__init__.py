"""One module per kind of file; each has `parse(data, name) -> Parsed` and knows nothing of files or processes.

A parser may be handed anything at all. It returns `Parsed`, or raises `Unparsable` where it knows the
reason; every other exception means `damaged`. It never opens a path or a connection.
"""
