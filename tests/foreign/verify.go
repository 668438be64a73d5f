// Verifies a published ledger with Go's x/mod/sumdb, which EPR's authors did not write: signature, every tile, every
// leaf, the root, and some inclusion proofs. Run as: go run verify.go FOLDER KEYS
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// folder reads tiles of height 8 from files.
type folder string

func (f folder) Height() int { return 8 }

// path is that of C2SP tlog-tiles, which does not have the height in it.
func path(t tlog.Tile) string { return strings.Replace(t.Path(), "tile/8/", "tile/", 1) }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		data, err := os.ReadFile(filepath.Join(string(f), path(t)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func check(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

func main() {
	log.SetFlags(0)
	dir := folder(os.Args[1])
	keys, err := os.ReadFile(os.Args[2])
	check(err, "keys")
	var verifiers []note.Verifier
	for _, line := range strings.Fields(string(keys)) {
		// It knows Ed25519 only.
		if verifier, err := note.NewVerifier(line); err == nil {
			verifiers = append(verifiers, verifier)
		}
	}
	signed, err := os.ReadFile(filepath.Join(string(dir), "checkpoint"))
	check(err, "checkpoint")
	opened, err := note.Open(signed, note.VerifierList(verifiers...))
	check(err, "signature")
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "size")
	hash, err := base64.StdEncoding.DecodeString(lines[2])
	check(err, "root")
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], hash)

	// From the bundles alone.
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	var leaves []tlog.Hash
	for n := int64(0); n*256 < size; n++ {
		width := int(size - n*256)
		if width > 256 {
			width = 256
		}
		// The form of the index is that of a tile of hashes.
		name := strings.Replace(path(tlog.Tile{H: 8, L: 0, N: n, W: width}), "tile/0/", "tile/entries/", 1)
		bundle, err := os.ReadFile(filepath.Join(string(dir), name))
		check(err, "bundle")
		for len(bundle) > 0 {
			length := binary.BigEndian.Uint16(bundle)
			data := bundle[2 : 2+length]
			bundle = bundle[2+length:]
			hashes, err := tlog.StoredHashes(int64(len(leaves)), data, reader)
			check(err, "hashes")
			stored = append(stored, hashes...)
			leaves = append(leaves, tlog.RecordHash(data))
		}
	}
	if int64(len(leaves)) != size {
		log.Fatalf("%d leaves instead of %d", len(leaves), size)
	}
	root, err := tlog.TreeHash(size, reader)
	check(err, "tree")
	if root != tree.Hash {
		log.Fatalf("the leaves have the root %v instead of %v", root, tree.Hash)
	}

	// Every tile, compared with what the leaves say.
	for level := 0; size>>(8*level) > 0; level++ {
		hashes := size >> (8 * level)
		for n := int64(0); n*256 < hashes; n++ {
			t := tlog.Tile{H: 8, L: level, N: n, W: 256}
			if hashes-n*256 < 256 {
				t.W = int(hashes - n*256)
			}
			expected, err := tlog.ReadTileData(t, reader)
			check(err, "tile")
			found, err := os.ReadFile(filepath.Join(string(dir), path(t)))
			check(err, "tile")
			if string(expected) != string(found) {
				log.Fatalf("%s differs", path(t))
			}
		}
	}

	// Proofs from the tiles, which this reader authenticates against the root.
	tiles := tlog.TileHashReader(tree, dir)
	for _, n := range []int64{0, size / 3, size / 2, size - 1} {
		proof, err := tlog.ProveRecord(size, n, tiles)
		check(err, "proof")
		check(tlog.CheckRecord(proof, size, tree.Hash, n, leaves[n]), "proof")
	}
	fmt.Println(size, "entries hold")
}
