"""Tasks: image sets, files of your own and teachers, with their labels and targets."""
