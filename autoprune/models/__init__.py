"""Our own models, and every timm and torchvision model by name."""
