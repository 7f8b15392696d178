"""The compute side of rnncore: the cells' equations, and the engines that run them."""
