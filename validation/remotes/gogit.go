// go-git as a program, for `python -m validation.remotes clients --go-git`.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o gogit validation/remotes/gogit.go
package main

import (
	"fmt"
	"os"
	"strconv"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/memory"
	cryptossh "golang.org/x/crypto/ssh"
)

func run(words []string) error {
	var auth transport.AuthMethod
	if key := os.Getenv("KEY"); key != "" {
		keys, err := ssh.NewPublicKeysFromFile("git", key, "")
		if err != nil {
			return err
		}
		keys.HostKeyCallback = cryptossh.InsecureIgnoreHostKey()
		auth = keys
	}
	switch words[0] {
	case "version":
		fmt.Println("5 (Debian)")
	case "ls-remote":
		remote := git.NewRemote(memory.NewStorage(), &config.RemoteConfig{Name: "it", URLs: []string{words[1]}})
		refs, err := remote.List(&git.ListOptions{Auth: auth})
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if !ref.Hash().IsZero() {
				fmt.Println(ref.Hash(), ref.Name())
			}
		}
	case "clone":
		depth, err := strconv.Atoi(words[3])
		if err != nil {
			return err
		}
		_, err = git.PlainClone(words[2], false, &git.CloneOptions{URL: words[1], Depth: depth, Auth: auth})
		return err
	case "fetch":
		repository, err := git.PlainOpen(words[1])
		if err != nil {
			return err
		}
		return repository.Fetch(&git.FetchOptions{Auth: auth})
	case "push":
		repository, err := git.PlainOpen(words[1])
		if err != nil {
			return err
		}
		return repository.Push(&git.PushOptions{RefSpecs: []config.RefSpec{config.RefSpec(words[2])}, Auth: auth})
	default:
		return fmt.Errorf("what is %q", words[0])
	}
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
