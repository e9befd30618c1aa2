// Package zfs is an example of a plugin that is not written in Go: the plugin is
// the file zfs.py, and the Go here is its test.
package zfs
