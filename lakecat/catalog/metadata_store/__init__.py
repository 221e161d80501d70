"""ML Metadata's model behind one class, ``MetadataStore``, with its method names and semantics."""
