"""Tables as their makers publish them: MetaPhlAn, HUMAnN and the files of the IBDMDB (HMP2).

Each format has one file here; `sniff` tells them apart by content, `published` reads a folder.
"""
