"""How far off a model is, learnt from people it was not trained on.

Intervals around what it says, and whether a sample is too unlike those it knows.
"""
