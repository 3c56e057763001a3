-- The search of adapters (domain, public ones, most downloaded first) read every adapter of the domain and sorted them: two
-- rows read for each. With this index it reads as many rows as it returns. The index on the domain alone is its beginning.
CREATE INDEX idx_loras_search ON loras(domain, is_public, downloads DESC, id);
DROP INDEX idx_loras_domain;
