"""The compiled engines' common part: code of cells, and their functions, evaluated on values in registers."""
