"""Data sets that are generated, or unpacked from official files, into NIfTI and a manifest."""
