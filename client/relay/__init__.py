"""The hospital's one connection to the others. The only code on this side that imports grpc."""
