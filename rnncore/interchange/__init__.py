"""Networks from and to other formats: ONNX and Keras."""
