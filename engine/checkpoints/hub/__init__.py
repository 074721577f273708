"""Published models: download from the model hub and install as folders."""
