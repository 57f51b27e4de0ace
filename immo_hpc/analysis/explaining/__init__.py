"""What makes an attribution believable: stability, permutation, exclusion, the linear rival."""
