"""2D networks for slice baselines and pretrained features (needs torch and timm)."""
