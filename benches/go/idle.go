// Memory of idle connections.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
)

// idle is the memory of one end of a connection, in bytes: what the process has more with the last nine
// tenths of them than with the first tenth, so that what is made once is made.
func idle(secure func(plain ends) (ends, error)) work {
	return func(size, count int) (float64, error) {
		var connections []ends
		var before int
		warm := count / 10
		for number := range count {
			if number == warm {
				before = resident()
			}
			plain, err := loopback()
			if err != nil {
				return 0, err
			}
			secured, err := secure(plain)
			if err != nil {
				return 0, err
			}
			connections = append(connections, secured)
			for _, direction := range []ends{secured, {secured.server, secured.client}} {
				if err := direction.atOnce(size, 1); err != nil {
					return 0, err
				}
			}
		}
		bytes := float64(resident()-before) / float64(2*(count-warm))
		for _, connection := range connections {
			connection.client.Close()
			connection.server.Close()
		}
		return bytes, nil
	}
}

// resident is the memory in use by this process, after all unneeded memory was given back.
func resident() int {
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	var all, pages int
	if _, scan := fmt.Sscan(string(statm), &all, &pages); err != nil || scan != nil {
		return 0
	}
	return pages * os.Getpagesize()
}
