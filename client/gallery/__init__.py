"""What a hospital is compared by: its patients' embeddings, and the galleries of each epoch."""
