"""The networks: table 1 of the paper, the generator of the prototxts, and the prototxts themselves."""
