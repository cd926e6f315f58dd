"""Makes the package's model type known to transformers when imported.

A saved model carries its code. Without this, loading the tokenizer of a folder asks in the terminal whether to run that
code, and waits; with it the package's own classes are taken.
"""

from transformers import AutoConfig

from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig

AutoConfig.register(TikTalkCorefConfig.model_type, TikTalkCorefConfig, exist_ok=True)
