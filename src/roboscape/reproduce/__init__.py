"""The paper's ablations, label noise, loss weights and scaling, measured with statistics."""
