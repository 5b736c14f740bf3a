// net/http, both sides: the client posts pseudo-random bodies, some over kept connections, some over
// new ones, and compares the digests that come back.
//
//	hash serve PORT | hash ask HOST:PORT COUNT
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func answer(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	if _, err := io.Copy(hash, r.Body); err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(w, hex.EncodeToString(hash.Sum(nil)))
}

func ask(client *http.Client, url string, size int, fresh bool) bool {
	body := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(body)
	request, err := http.NewRequest("POST", url, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Close = fresh
	response, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	sum := sha256.Sum256(body)
	return string(text) == hex.EncodeToString(sum[:])
}

func main() {
	if os.Args[1] == "serve" {
		log.Fatal(http.ListenAndServe(":"+os.Args[2], http.HandlerFunc(answer)))
	}
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Timeout: 30 * time.Second}
	var right int64
	var group sync.WaitGroup
	for worker := 0; worker < 10; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			for i := worker; i < count; i += 10 {
				if ask(client, "http://"+os.Args[2]+"/", 1+i*7919%200000, i%5 == 0) {
					atomic.AddInt64(&right, 1)
				}
			}
		}(worker)
	}
	group.Wait()
	fmt.Println("right:", right)
}
