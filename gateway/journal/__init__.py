"""The durable store of batches on the box."""
