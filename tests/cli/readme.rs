//! The README can be believed: what it shows is what the program prints.
