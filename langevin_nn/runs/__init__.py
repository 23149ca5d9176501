"""One run: assembled from its configuration, kept in its folder, said in words."""
