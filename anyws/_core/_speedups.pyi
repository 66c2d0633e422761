from .masking import GrowingBuffer as GrowingBuffer
from .masking import GrowingText as GrowingText
from .masking import apply_mask as apply_mask
from .masking import join_frame as join_frame
from .masking import unmask as unmask
from .masking import unmask_text as unmask_text

#: Which Cython compiled it, "3.2.0" for instance.
cython_version: str
