-- feed
SELECT p.id, p.author, p.body, p.image FROM posts AS p JOIN follows AS f ON f.followed = p.author
WHERE f.follower = ?1 ORDER BY p.created_at DESC LIMIT 40;

-- profile
SELECT id, body, image, created_at FROM posts WHERE author = ? ORDER BY created_at DESC LIMIT 20;

-- followers
SELECT count(*) AS followers FROM follows WHERE followed = ?;

-- newest
SELECT id, author, body FROM posts WHERE created_at > :since ORDER BY created_at DESC LIMIT 20;

-- follow
INSERT INTO follows (follower, followed) VALUES (?, ?) ON CONFLICT DO NOTHING;
