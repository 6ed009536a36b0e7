"""From a manifest to checked cases, frozen folds and cached, augmented volumes."""
