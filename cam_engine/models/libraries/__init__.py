"""Networks that stand in no table: of libraries that are not always there, and of labs themselves.

`fastai_learners` and `transformers_networks` build what these libraries' files describe
(`transformers_configs`: in a `config.json`); `programs` are those of `torch.export`; `plugins`
finds the functions that an operator installs and names. `signatures` tells torchvision's networks
by their weights alone.
"""
