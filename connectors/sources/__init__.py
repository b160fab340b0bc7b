"""One file per kind of source; all pass tests/suites/source_suite.py."""
