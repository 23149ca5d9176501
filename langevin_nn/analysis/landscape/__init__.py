"""The landscape of the data's energy: derivatives and spectra."""
