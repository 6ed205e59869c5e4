"""The one door to disk: tables, migrations, blobs, atomic writes."""
