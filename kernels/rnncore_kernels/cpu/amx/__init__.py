"""Products on AMX, the tile registers of Intel's processors since Sapphire Rapids.

They multiply bfloat16 alone. A number that may be rounded is one of these; a float32 is a sum of three, and of the nine
products of two numbers' parts the six largest are added up: the method of G. Henry, P. T. P. Tang and A. Heinecke,
"Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations" (2019),
https://arxiv.org/abs/1904.06376, which XLA names X6.
"""
