"""Tasks: image sets, files of your own, teachers; their labels and what is read of them."""
