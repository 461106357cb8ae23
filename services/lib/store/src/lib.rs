//! The only importer of sea-orm: schema, migrations, repositories, change feed.
