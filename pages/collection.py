"""Collection: is data arriving?"""

from uar.ui.collection import show_collection

show_collection()
