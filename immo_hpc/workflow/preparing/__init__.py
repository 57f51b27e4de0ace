"""How `immo prepare` goes about its work: in memory, or by many processes over files.

`steps` is what is done, `streamed` who does it, `place` where, `workers` starts further
processes, and `outcome` tells what came out.
"""
