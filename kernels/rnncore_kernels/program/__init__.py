"""A cell as engines run it: its recorded equations, their gradient, and the phases of a step of each."""
