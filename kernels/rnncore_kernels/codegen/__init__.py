"""What the engines that compile cells share: a cell as expression graphs, and its functions on values in registers."""
