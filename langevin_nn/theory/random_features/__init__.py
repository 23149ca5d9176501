"""Random features in the limit of many inputs, features and examples."""
