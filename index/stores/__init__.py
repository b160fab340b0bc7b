"""Where bytes are kept: directories and buckets behind one contract, and what each of them really promises."""
