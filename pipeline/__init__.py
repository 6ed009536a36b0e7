"""volclass: from labelled 3D medical volumes to an honest cross-validation report."""

#: Proves to the command line that this `pipeline` is ours and not a namesake's.
DISTRIBUTION = "volclass"
