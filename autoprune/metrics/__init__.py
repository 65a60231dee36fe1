"""What is measured: accuracy, multiply-adds, parameters, latency, intervals."""
