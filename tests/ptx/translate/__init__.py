"""From a kernel's PTX to LLVM's intermediate representation."""

from .kernel import STEP, Parameter, Translation, translate

__all__ = ["STEP", "Parameter", "Translation", "translate"]
