"""What the guard is made of: folded words, the index of report phrases, known images and labels, file formats."""
